#!/bin/sh
# A worker of a fleet: shipper.sh LOG HOW. It notes that it began, makes one commit, and asks to be retired.
# HOW: push (its work goes to the default branch), close (it closes its issue with bd itself), or keep (neither).
log=$1 how=$2
echo "$WITNESS_ISSUE $WITNESS_POLECAT $WITNESS_RIG" >>"$log"
echo "$WITNESS_ISSUE" >"work-$WITNESS_ISSUE"
git add --all && git commit --quiet --message "work on $WITNESS_ISSUE" || exit 1
if [ "$how" = push ]; then
    tries=0
    until git fetch --quiet origin && git rebase --quiet origin/main && git push --quiet origin HEAD:main; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || exit 1
        sleep 0.2
    done
elif [ "$how" = close ]; then
    until bd close "$WITNESS_ISSUE" --reason done --json >/dev/null 2>&1; do sleep 1; done # until the server answers
fi
until "$WITNESS_COMMAND" handoff; do sleep 2; done
exec sleep 600

#!/bin/bash
# The share of the cases that are right is the reward, and stands beside whether all are.
cd /app && make -s
right=0
check() { [ "$(printf "$1" | ./mean)" = "$2" ] && right=$((right + 1)); }
check '1\n2\n' 1.50
check '1.5\n2.5\n' 2.00
check '2000000000\n2000000000\n' 2000000000.00
check '' none
printf '{"reward": %d.%02d, "cases": %d}\n' $((right / 4)) $((right * 25 % 100)) "$right" > /logs/verifier/reward.json

#!/bin/bash
if diff <(seq 20 | grep -vxE '3|7|20') /app/numbers.txt; then reward=1; else reward=0; fi
echo "$reward" > /logs/verifier/reward.txt

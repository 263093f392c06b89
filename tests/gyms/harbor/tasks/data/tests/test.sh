#!/bin/bash
if [ "$(cat /app/answer.txt)" = "north 3428" ]; then reward=1; else reward=0; fi
echo "$reward" > /logs/verifier/reward.txt

#!/bin/bash
reward=1
for _ in 1 2 3; do
    answer=$(exec 3<>/dev/tcp/127.0.0.1/8000 && timeout 5 cat <&3)
    [ "$answer" = pong ] || reward=0
done
echo "$reward" > /logs/verifier/reward.txt

#!/bin/bash
if diff /tests/expected.conf /app/server.conf; then reward=1; else reward=0; fi
echo "$reward" > /logs/verifier/reward.txt

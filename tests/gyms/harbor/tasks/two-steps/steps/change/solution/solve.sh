#!/bin/bash
grep -vxFf /app/skip.txt /app/numbers.txt > /tmp/rest && cp /tmp/rest /app/numbers.txt

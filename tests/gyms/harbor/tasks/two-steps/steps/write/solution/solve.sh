#!/bin/bash
seq 20 > /app/numbers.txt

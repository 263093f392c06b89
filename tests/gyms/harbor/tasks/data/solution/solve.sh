#!/bin/bash
awk -F, '/^2024-03/ { sum[$2] += $3 * $4 } END { for (shop in sum) printf "%s %.0f\n", shop, sum[shop] }' /app/sales.csv |
    sort -k2 -n | tail -1 > /app/answer.txt

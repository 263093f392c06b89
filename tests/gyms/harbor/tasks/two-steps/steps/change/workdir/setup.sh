#!/bin/bash
printf '3\n7\n20\n' > skip.txt

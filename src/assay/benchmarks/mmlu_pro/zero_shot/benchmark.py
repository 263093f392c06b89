"""mmlu-pro-0-shot: the questions of mmlu-pro without examples. A row:

id      11286
asks    The following are multiple choice questions (with answers) about engineering. … Question: Stack is also known as
        Options: A. FIFO memory …
gold    C
"""

from assay.benchmarks.mmlu_pro.benchmark import benchmark_of

BENCHMARK = benchmark_of("mmlu-pro-0-shot", shots=0)

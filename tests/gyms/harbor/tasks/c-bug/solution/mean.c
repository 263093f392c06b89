#include <stdio.h>

int main(void) {
    double sum = 0, number;
    long count = 0;
    while (scanf("%lf", &number) == 1) {
        sum += number;
        count++;
    }
    if (count == 0)
        puts("none");
    else
        printf("%.2f\n", sum / count);
    return 0;
}

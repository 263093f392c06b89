#include <stdio.h>

int main(void) {
    int sum = 0, count = 0, number;
    while (scanf("%d", &number) == 1) {
        sum += number;
        count++;
    }
    printf("%.2f\n", (double)(sum / count));
    return 0;
}

/* What the programs here have in common: each step checks one promise, the first that fails ends the program
 * with its name. */

#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 10000

static void check(natsStatus status, const char *step)
{
    if (status == NATS_OK)
        return;
    printf("FAILED %s: %s\n", step, natsStatus_GetText(status));
    exit(1);
}

static void expect(int condition, const char *step)
{
    if (condition)
        return;
    printf("FAILED %s\n", step);
    exit(1);
}

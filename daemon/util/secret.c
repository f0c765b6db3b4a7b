/* SPDX-License-Identifier: Apache-2.0 */
#include "secret.h"

#include <string.h>

void secret_free_size(char *secret, size_t size)
{
        if (secret)
                explicit_bzero(secret, size);
        free(secret);
}

char *secret_free(char *secret)
{
        secret_free_size(secret, secret ? strlen(secret) : 0);
        return NULL;
}

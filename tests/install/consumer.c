/* SPDX-License-Identifier: MIT
 *
 * The least program that uses an installed paro: that its headers are complete and that it links.
 */
#include <paro/paro.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    paro_error err;
    paro_model *model = NULL;
    paro_status status = paro_model_open(&err, "no-such-folder", NULL, &model);
    printf("paro %s: %s: %s\n", paro_version(), paro_status_name(status), err.message);
    paro_model_free(model);
    return status == PARO_STATUS_OK || strcmp(paro_version(), PARO_VERSION) != 0;
}

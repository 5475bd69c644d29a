/* SPDX-License-Identifier: MIT
 *
 * The version of the library.
 */
#include <paro/version.h>

const char *paro_version(void)
{
    return PARO_VERSION;
}

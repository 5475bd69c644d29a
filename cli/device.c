/* SPDX-License-Identifier: MIT
 *
 * See device.h.
 */
#include "cli/device.h"

paro_model_options paro_console_model_options(paro_console *console, const char *device)
{
    if (!device)
        device = console->environment.device ? console->environment.device : "auto";
    return (paro_model_options){.n_threads = console->n_threads,
                                .device = device,
                                .cache_path = console->environment.cache,
                                .system_cache_path = console->environment.system_cache,
                                .nvrtc_library = console->environment.nvrtc,
                                .observer = &console->observer};
}

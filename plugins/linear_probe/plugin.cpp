#include "linear_probe.h"

MICROTOME_PLUGIN("linear_probe", "0.1.0",
                 microtome::stage<linear_probe::LinearProbe>("linear_probe"))

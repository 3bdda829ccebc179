#include "ablate.h"

MICROTOME_PLUGIN("ablate", "0.1.0", microtome::stage<ablate::Ablate>("ablate"))

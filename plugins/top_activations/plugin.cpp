#include "top_activations.h"

MICROTOME_PLUGIN("top_activations", "0.1.0",
                 microtome::stage<top_activations::TopActivations>("top_activations"))

#include "integrated_gradients.h"

MICROTOME_PLUGIN(
    "integrated_gradients", "0.1.0",
    microtome::stage<integrated_gradients::IntegratedGradients>("integrated_gradients"))

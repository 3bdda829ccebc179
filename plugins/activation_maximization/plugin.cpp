#include "activation_maximization.h"

MICROTOME_PLUGIN(
    "activation_maximization", "0.1.0",
    microtome::stage<activation_maximization::ActivationMaximization>("activation_maximization"))

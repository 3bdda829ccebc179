#include "shapes.h"

MICROTOME_PLUGIN("shapes", "0.1.0", microtome::stage<shapes::Shapes>("shapes"))

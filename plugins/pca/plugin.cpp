#include "pca.h"

MICROTOME_PLUGIN("pca", "0.1.0", microtome::stage<pca::PrincipalComponents>("pca"))

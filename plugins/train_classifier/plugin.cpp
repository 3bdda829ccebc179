#include "train_classifier.h"

MICROTOME_PLUGIN("train_classifier", "0.1.0",
                 microtome::stage<train_classifier::TrainClassifier>("train_classifier"))

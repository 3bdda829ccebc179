#include "evaluate.h"
#include "score_shift.h"

using microtome::stage;

MICROTOME_PLUGIN("evaluate", "0.2.0", stage<evaluate::Evaluate>("evaluate"),
                 stage<evaluate::ScoreShift>("score_shift"))

#pragma once

/// All that a plugin needs.
#include "microtome/tensor.h"
// The tensor header comes first.
#include "microtome/artifact.h"
#include "microtome/context.h"
#include "microtome/dataset.h"
#include "microtome/error.h"
#include "microtome/hook_point.h"
#include "microtome/kinds/attribution.h"
#include "microtome/metric.h"
#include "microtome/model.h"
#include "microtome/parameter.h"
#include "microtome/plugin.h"
#include "microtome/stage.h"
#include "microtome/stage_spec.h"
#include "microtome/target.h"
#include "microtome/target_score.h"
#include "microtome/value.h"
#include "microtome/version.h"
#include "microtome/view.h"

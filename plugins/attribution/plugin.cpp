#include "gradient/grad_cam.h"
#include "gradient/plain_gradient.h"
#include "gradient/rectifier_rules.h"
#include "gradient/smooth_grad.h"
#include "layers/conductance.h"
#include "metrics/agreement.h"
#include "metrics/infidelity.h"
#include "metrics/insertion_deletion.h"
#include "metrics/localisation.h"
#include "metrics/max_sensitivity.h"
#include "metrics/parameter_randomisation.h"
#include "paths/discretized_integrated_gradients.h"
#include "paths/expected_gradients.h"
#include "paths/integrated_gradients.h"
#include "paths/integrated_hessians.h"
#include "paths/path_integrated_gradients.h"
#include "perturbation/ablation.h"
#include "perturbation/extremal_perturbation.h"
#include "perturbation/rise.h"
#include "perturbation/shapley.h"
#include "rules/deep_lift.h"
#include "rules/lrp.h"
#include "views/side_by_side.h"

using namespace attribution;
using microtome::stage;

MICROTOME_PLUGIN(
    "attribution", "0.3.0", stage<Saliency>("saliency"), stage<InputXGradient>("input_x_gradient"),
    stage<GuidedBackprop>("guided_backprop"), stage<Deconvolution>("deconvolution"),
    stage<GradCam>("grad_cam"), stage<GradCamPlusPlus>("grad_cam_plus_plus"),
    stage<ScoreCam>("score_cam"), stage<GuidedGradCam>("guided_grad_cam"),
    stage<SmoothGrad>("smooth_grad"), stage<IntegratedGradients>("integrated_gradients"),
    stage<ExpectedGradients>("expected_gradients"), stage<GradientShap>("gradient_shap"),
    stage<DeepLift>("deep_lift"), stage<DeepLiftShap>("deep_lift_shap"), stage<Lrp>("lrp"),
    stage<PathIntegratedGradients>("path_integrated_gradients"),
    stage<DiscretizedIntegratedGradients>("discretized_integrated_gradients"),
    stage<IntegratedHessians>("integrated_hessians"),
    stage<InternalInfluence>("internal_influence"), stage<Conductance>("conductance"),
    stage<NeuronConductance>("neuron_conductance"), stage<Occlusion>("occlusion"),
    stage<FeatureAblation>("feature_ablation"), stage<ShapleySampling>("shapley_sampling"),
    stage<KernelShap>("kernel_shap"), stage<Lime>("lime"), stage<Rise>("rise"),
    stage<ExtremalPerturbation>("extremal_perturbation"),
    stage<InsertionDeletion>("insertion_deletion"), stage<Infidelity>("infidelity"),
    stage<Localisation>("localisation"), stage<Agreement>("agreement"),
    stage<Complexity>("complexity"), stage<SideBySide>("side_by_side"),
    stage<MaxSensitivity>("max_sensitivity"),
    stage<ParameterRandomisation>("parameter_randomisation"))

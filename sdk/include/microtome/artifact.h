#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "microtome/axes.h"
#include "microtome/metric.h"
#include "microtome/tensor.h"
#include "microtome/value.h"
#include "microtome/view.h"

namespace [[gnu::visibility("default")]] microtome {

struct ScriptModule;

/// What an artifact is, so that ports can say what they take. Plugins may use kinds of their own.
namespace kind {
inline constexpr const char* model = "model";
inline constexpr const char* dataset = "dataset";
inline constexpr const char* field = "field";  ///< one field of a dataset, e.g. labels
inline constexpr const char* activations = "activations";
inline constexpr const char* attributions = "attributions";
/// `directions` [K, D] float32, each the vector along a layer; metadata `hook` says which one.
inline constexpr const char* directions = "directions";
inline constexpr const char* dictionary = "dictionary";
inline constexpr const char* metrics = "metrics";
}  // namespace kind

/// A tensor of an artifact as planned or as written. -1 in `shape` is a size not known yet.
struct TensorInfo {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> shape;
  bool per_sample = false;  ///< rows belong to samples, whose ids are kept beside it
  Axes axes = {};           ///< as planned, of a per-sample tensor after N; empty when not known
};

/// Reads an artifact that is complete. Implemented by the host. [any thread; immutable]
class ArtifactReader {
 public:
  virtual ~ArtifactReader();
  virtual std::string kind() const = 0;
  virtual const Value& metadata() const = 0;
  virtual std::vector<TensorInfo> tensors() const = 0;
  /// The whole tensor. Throws `Error` naming the tensors that exist.
  virtual at::Tensor tensor(const std::string& name) const = 0;
  /// Rows [begin, end) alone; the rest is not read.
  virtual at::Tensor rows(const std::string& name, std::int64_t begin, std::int64_t end) const = 0;
  /// Ids of the samples that the rows of per-sample tensors belong to; empty when there are none.
  virtual std::vector<std::string> sample_ids() const = 0;
};

/// Rows of a per-sample tensor for the samples with these ids, in this order. Throws `Error` that
/// names a sample which the artifact does not have.
at::Tensor rows_of_samples(const ArtifactReader& artifact, const std::string& tensor,
                           const std::vector<std::string>& ids);

/// Writes an artifact. Nothing is visible to others before the stage has finished. Implemented by
/// the host. [the stage's own thread]
class ArtifactWriter {
 public:
  virtual ~ArtifactWriter();
  /// Writes a whole tensor. NaN is refused unless `allow_nan`.
  virtual void tensor(const std::string& name, const at::Tensor& value, bool allow_nan = false) = 0;
  /// Appends rows to a tensor that grows. Rows must agree in shape and type with those before.
  virtual void append(const std::string& name, const at::Tensor& rows, bool allow_nan = false) = 0;
  /// Appends the ids of the samples that appended rows belong to.
  virtual void append_ids(const std::vector<std::string>& ids) = 0;
  /// Throws `Error` that names a metric with a number that is not finite.
  virtual void metric(Metric metric) = 0;
  virtual void view(View view) = 0;
  virtual void metadata(const std::string& key, Value value) = 0;
  /// For outputs of kind model: what it is.
  virtual void model(const ScriptModule& module) = 0;
};

}  // namespace microtome

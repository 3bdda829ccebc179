#include "host/model/torchscript/alias_table.h"

#include <algorithm>

namespace microtome::host::torchscript {

namespace {
std::size_t at(TensorRef tensor) { return static_cast<std::size_t>(tensor); }
}  // namespace

TensorRef AliasTable::add(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  return static_cast<TensorRef>(tensors_.size() - 1);
}

std::size_t AliasTable::add_storage(TensorRef root) {
  storages_.push_back({root, 0, {}, {}, {}});
  return storages_.size() - 1;
}

TensorRef AliasTable::fresh(ValueId value) {
  const TensorRef tensor = add({0, -1, {}, value, 0});
  tensors_[at(tensor)].storage = add_storage(tensor);
  return tensor;
}

TensorRef AliasTable::untraceable(ValueId value) {
  const TensorRef tensor = fresh(value);
  storages_[tensors_[at(tensor)].storage].no_write = "it comes out of a list, tuple or dictionary";
  return tensor;
}

TensorRef AliasTable::view(TensorRef base, ViewStep step, ValueId value) {
  const std::size_t storage = tensors_[at(base)].storage;
  return add({storage, base, std::move(step), value, storages_[storage].version});
}

TensorRef AliasTable::possible_alias(ValueId value, const std::vector<TensorRef>& others) {
  const TensorRef tensor = fresh(value);
  const std::size_t own = tensors_[at(tensor)].storage;
  for (const TensorRef other : others) {
    const std::size_t storage = tensors_[at(other)].storage;
    storages_[own].possible.push_back(storage);
    storages_[storage].possible.push_back(own);
  }
  return tensor;
}

ValueId AliasTable::read(TensorRef tensor, const Emitter& emit) {
  const Storage& storage = storages_[tensors_[at(tensor)].storage];
  if (!storage.unknown.empty()) throw Error(storage.unknown);
  if (tensors_[at(tensor)].version == storage.version) return tensors_[at(tensor)].value;
  const int version = storage.version;
  const ValueId base = read(tensors_[at(tensor)].base, emit);
  const ValueId value = emit.view(tensors_[at(tensor)].step, base);
  tensors_[at(tensor)].value = value;
  tensors_[at(tensor)].version = version;
  return value;
}

void AliasTable::write(TensorRef tensor, ValueId value, const Emitter& emit,
                       const std::string& writer) {
  const std::size_t own = tensors_[at(tensor)].storage;
  if (!storages_[own].no_write.empty()) {
    throw Error(writer + " writes into a tensor in place, which is not supported here: " +
                storages_[own].no_write);
  }
  // Memory that may be the same is unknown from here on, and so on through what may be the same as
  // that.
  std::vector<std::size_t> reached{own};
  for (std::size_t i = 0; i < reached.size(); ++i) {
    for (const std::size_t other : storages_[reached[i]].possible) {
      if (std::find(reached.begin(), reached.end(), other) != reached.end()) continue;
      if (!storages_[other].no_write.empty()) {
        throw Error(writer + " may write in place into memory where that is not supported: " +
                    storages_[other].no_write);
      }
      reached.push_back(other);
      storages_[other].unknown =
          "a tensor is read after " + writer +
          " wrote in place into memory that may be the same; whether it is depends on strides, so "
          "the model's meaning can't be kept. Copy the tensor before it is written in place";
    }
  }
  // The bases first, with the versions as they were.
  std::vector<std::pair<TensorRef, ValueId>> updated{{tensor, value}};
  for (TensorRef child = tensor; tensors_[at(child)].base >= 0; child = tensors_[at(child)].base) {
    const TensorRef base = tensors_[at(child)].base;
    const ValueId old = read(base, emit);
    updated.emplace_back(base,
                         emit.write_view(tensors_[at(child)].step, old, updated.back().second));
  }
  const int version = ++storages_[own].version;
  for (const auto& [written, now] : updated) {
    tensors_[at(written)].value = now;
    tensors_[at(written)].version = version;
  }
}

void AliasTable::mark_held(TensorRef tensor, const std::string& holder) {
  Storage& storage = storages_[tensors_[at(tensor)].storage];
  if (storage.no_write.empty()) storage.no_write = "the tensor is held by " + holder;
}

void AliasTable::mark_constant(TensorRef tensor, const std::string& name) {
  storages_[tensors_[at(tensor)].storage].no_write =
      "\"" + name + "\" is a parameter or buffer of the model, whose state does not change";
}

std::vector<TensorRef> AliasTable::written_since(const AliasTable& before) const {
  std::vector<TensorRef> roots;
  for (std::size_t i = 0; i < before.storages_.size(); ++i) {
    if (storages_[i].version != before.storages_[i].version) roots.push_back(storages_[i].root);
  }
  return roots;
}

std::vector<TensorRef> AliasTable::related_roots(TensorRef tensor, const AliasTable& before) const {
  std::vector<std::size_t> reached{tensors_[at(tensor)].storage};
  for (std::size_t i = 0; i < reached.size(); ++i) {
    for (const std::size_t other : storages_[reached[i]].possible) {
      if (std::find(reached.begin(), reached.end(), other) == reached.end())
        reached.push_back(other);
    }
  }
  std::vector<TensorRef> roots;
  for (const std::size_t storage : reached) {
    if (storage < before.storages_.size()) roots.push_back(storages_[storage].root);
  }
  return roots;
}

void AliasTable::merge_unknown(const AliasTable& tried) {
  for (std::size_t i = 0; i < storages_.size(); ++i) {
    if (storages_[i].unknown.empty()) storages_[i].unknown = tried.storages_[i].unknown;
    if (storages_[i].no_write.empty()) storages_[i].no_write = tried.storages_[i].no_write;
  }
}

void AliasTable::replace_root(TensorRef root, ValueId value) {
  Tensor& tensor = tensors_[at(root)];
  Storage& storage = storages_[tensor.storage];
  tensor.value = value;
  tensor.version = ++storage.version;
}

}  // namespace microtome::host::torchscript

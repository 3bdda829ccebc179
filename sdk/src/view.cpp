#include "microtome/view.h"

namespace microtome {

std::string to_string(View::Type type) {
  switch (type) {
    case View::Type::heat_map:
      return "heat_map";
    case View::Type::image_grid:
      return "image_grid";
    case View::Type::scatter:
      return "scatter";
    case View::Type::line:
      return "line";
    case View::Type::histogram:
      return "histogram";
    case View::Type::table:
      return "table";
    case View::Type::flow:
      return "flow";
  }
  return "";
}

Value View::to_value() const {
  Value value = Value::map();
  value.set("type", to_string(type));
  value.set("title", title);
  if (!caption.empty()) value.set("caption", caption);
  Value names = Value::list();
  for (const std::string& tensor : tensors) names.push_back(tensor);
  value.set("tensors", std::move(names));
  if (!options.is_null()) value.set("options", options);
  return value;
}

View table_view(std::string title, std::vector<std::string> columns, Value::List rows,
                std::string caption) {
  View view{View::Type::table, std::move(title), std::move(caption), {}, Value::map()};
  Value names = Value::list();
  for (std::string& column : columns) names.push_back(std::move(column));
  view.options.set("columns", std::move(names));
  view.options.set("rows", Value(std::move(rows)));
  return view;
}

}  // namespace microtome

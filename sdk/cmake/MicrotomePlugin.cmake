# microtome_add_plugin(NAME SOURCE...): a plugin's library, with one exported symbol.
set(MICROTOME_PLUGIN_EXPORTS ${CMAKE_CURRENT_LIST_DIR}/plugin.map CACHE INTERNAL "Exported symbols of a plugin")

function(microtome_add_plugin name)
  add_library(${name} MODULE ${ARGN})
  target_link_libraries(${name} PRIVATE Microtome::SDK)
  target_link_options(${name} PRIVATE -Wl,--version-script=${MICROTOME_PLUGIN_EXPORTS} -Wl,-z,defs)
  set_target_properties(${name} PROPERTIES PREFIX "" CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
endfunction()

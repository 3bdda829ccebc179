#include <malloc.h>
#include <pthread.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "host/cli/commands.h"
#include "host/support/plain_reason.h"

namespace {

using namespace microtome::host;

/// SIGINT and SIGTERM end the run in order; a second one ends the program at once.
void handle_interrupts(Cancellation& cancellation) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals, &cancellation] {
    int received = 0;
    sigwait(&signals, &received);
    cancellation.cancel();
    sigwait(&signals, &received);
    _exit(static_cast<int>(ExitStatus::interrupted));
  }).detach();
}

void add_run_arguments(CLI::App& command, RunArguments& arguments) {
  command.add_option("file", arguments.file, "the pipeline, YAML")->required();
  command
      .add_option("--set", arguments.overrides,
                  "override a value: stages.ig.with.steps=64, vars.data=/elsewhere")
      ->type_name("K=V")
      ->take_all()
      ->expected(1);
  command.add_option("--device", arguments.device, "cpu, cuda or cuda:N")->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
  // Threads of OpenMP that wait must not burn the cores that chunks compute on. Set before any of
  // them starts.
  setenv("OMP_WAIT_POLICY", "PASSIVE", 0);
  at::set_num_threads(1);
  // Values of a network come and go by the megabyte. By default each goes back to the system at
  // once and is given again page by page, which costs as much as a convolution.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  static Cancellation cancellation;

  CLI::App app(
      "Microtome takes a trained network apart: it runs analyses that are plugins, declared in "
      "YAML.",
      "microtome");
  app.require_subcommand(1);
  app.fallthrough();
  std::vector<std::string> plugin_folders;
  app.add_option("--plugin-path", plugin_folders, "look for plugins in this folder first")
      ->type_name("FOLDER")
      ->expected(1)
      ->take_all();
  app.footer(
      "Exit status: 0 done, 1 a stage failed, 2 the pipeline or the command line is wrong, 3 a "
      "plugin was refused, 130 interrupted.");

  RunArguments arguments;
  CLI::App* run = app.add_subcommand("run", "run a pipeline");
  add_run_arguments(*run, arguments);
  run->add_option(
         "--jobs", arguments.jobs,
         "how many threads compute (default: one for each core); results do not depend on it")
      ->check(CLI::Range(1, 1024));
  run->add_option("--only", arguments.only, "run this stage, and what it needs")
      ->type_name("STAGE");
  run->add_flag("--fresh", arguments.fresh, "compute again what is in the store");
  run->add_flag("--profile", arguments.profile,
                "write where the time goes: profile.json for Perfetto, profile.txt to read");
  run->add_option("--runs", arguments.runs, "folder for run folders")
      ->capture_default_str()
      ->type_name("DIR");
  run->add_option("--store", arguments.store,
                  "folder of results that runs share (default: $XDG_CACHE_HOME/microtome)")
      ->type_name("DIR");
  std::string format = "text";
  run->add_option("--log-format", format, "text or json, on stderr")
      ->check(CLI::IsMember({"text", "json"}));
  run->add_flag("-v,--verbose", arguments.journal.verbose, "say more");
  run->add_flag("-q,--quiet", arguments.journal.quiet, "say errors alone");

  CLI::App* check =
      app.add_subcommand("check", "check a pipeline and show its plan; computes nothing");
  add_run_arguments(*check, arguments);

  std::optional<std::string> plugin;
  CLI::App* plugins = app.add_subcommand("plugins", "what is installed; with a name, all about it");
  plugins->add_option("name", plugin, "a plugin or a stage type");

  LayersArguments layers_arguments;
  CLI::App* layers = app.add_subcommand("layers", "the hook points of a model");
  layers->add_option("model", layers_arguments.model, "a TorchScript file")->required();
  layers
      ->add_option("--input", layers_arguments.inputs,
                   "shape of an input: x=1x3x32x32, tokens=1x3:int64")
      ->expected(1)
      ->take_all();
  layers->add_flag("--verify", layers_arguments.verify,
                   "compare with LibTorch's own interpreter on a random input, and with the "
                   "outputs of --example");
  layers
      ->add_option("--example", layers_arguments.example,
                   "inputs and outputs that export_model.py wrote beside the model")
      ->type_name("FILE");

  std::string reported;
  CLI::App* report = app.add_subcommand("report", "write the report of a run again");
  report->add_option("run", reported, "the run's folder, such as runs/NAME/latest")->required();

  CLI::App* schema = app.add_subcommand(
      "schema", "JSON Schema of pipelines with the installed plugins, for editors");
  CLI::App* doctor =
      app.add_subcommand("doctor", "versions, BLAS, devices, plugins, and what is wrong with them");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : static_cast<int>(ExitStatus::wrong_input);
  }
  arguments.journal.json = format == "json";
  try {
    ExitStatus status = ExitStatus::done;
    if (*layers) {
      status = layers_command(layers_arguments);
    } else if (*report) {
      status = report_command(reported);
    } else {
      const SearchPath path = SearchPath::standard(plugin_folders);
      Catalog catalog(path);
      if (*run) {
        handle_interrupts(cancellation);
        status = run_command(arguments, catalog, cancellation);
      }
      if (*check) status = check_command(arguments, catalog);
      if (*plugins) status = plugins_command(plugin, catalog);
      if (*schema) status = schema_command(catalog);
      if (*doctor) status = doctor_command(path, catalog);
    }
    std::cout.flush();
    std::cerr.flush();
    // Plugins stay loaded; their and LibTorch's static destructors have nothing to save.
    _exit(static_cast<int>(status));
  } catch (const PluginRefused& error) {
    std::cerr << "error: " << error.full() << '\n';
    return static_cast<int>(ExitStatus::plugin_refused);
  } catch (const microtome::Error& error) {
    std::cerr << "error: " << error.full() << '\n';
  } catch (const std::exception& error) {
    std::cerr << "error: " << plain_reason(error) << '\n';
  }
  return static_cast<int>(ExitStatus::wrong_input);
}

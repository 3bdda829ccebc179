#include "host/loader/probe.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace microtome::host {
namespace {

// Neither is a status that a plugin is likely to end the process with.
constexpr int is_fine = 96, is_refused = 97;

/// In the child: the reason goes into the pipe.
[[noreturn]] void load_and_leave(Catalog& catalog, const PluginFile& plugin, int pipe) {
  const int nowhere = open("/dev/null", O_WRONLY);
  dup2(nowhere, STDOUT_FILENO);
  dup2(nowhere, STDERR_FILENO);
  std::string why;
  try {
    catalog.load(plugin);
  } catch (const std::exception& error) {
    why = error.what();
  } catch (...) {
    why = "it throws something that is not a std::exception";
  }
  if (!why.empty() && write(pipe, why.data(), why.size()) < 0) _exit(1);
  _exit(why.empty() ? is_fine : is_refused);
}

std::string all_from(int pipe) {
  std::string text;
  std::array<char, 512> part{};
  for (ssize_t count = 0; (count = read(pipe, part.data(), part.size())) > 0;)
    text.append(part.data(), static_cast<std::size_t>(count));
  return text;
}

}  // namespace

std::string why_broken(Catalog& catalog, const PluginFile& plugin) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw Error("no pipe can be made");
  const pid_t child = fork();
  if (child < 0) throw Error("no process can be made to try plugins in");
  if (child == 0) load_and_leave(catalog, plugin, ends[1]);
  close(ends[1]);
  const std::string why = all_from(ends[0]);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status))
    return std::string("it kills the program while it is loaded (") + strsignal(WTERMSIG(status)) +
           ")";
  if (!WIFEXITED(status) || (WEXITSTATUS(status) != is_fine && WEXITSTATUS(status) != is_refused))
    return "it ends the program while it is loaded";
  if (WEXITSTATUS(status) == is_refused) return why.empty() ? "it can't be loaded" : why;
  return {};
}

}  // namespace microtome::host

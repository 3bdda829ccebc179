#include "tests/support/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "tests/support/temporary_folder.h"

namespace microtome::testing {

namespace {

/// Starts the program with its output in files below `folder`.
pid_t start(const std::vector<std::string>& arguments, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const std::string output = (folder / ".output").string(), errors = (folder / ".errors").string();
  std::filesystem::remove(errors);
  std::vector<std::string> words{MICROTOME_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child > 0) return child;
  if (chdir(folder.c_str()) != 0) _exit(127);
  const int out = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int err = open(errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dup2(out, 1);
  dup2(err, 2);
  setenv("XDG_CACHE_HOME", (folder / "cache").c_str(), 1);
  setenv("XDG_DATA_HOME", (folder / "data").c_str(), 1);
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execv(pointers[0], pointers.data());
  _exit(127);
}

ProgramResult finish(pid_t child, const std::filesystem::path& folder) {
  int status = 0;
  waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
          read_file(folder / ".output"), read_file(folder / ".errors")};
}

}  // namespace

ProgramResult run_program(const std::vector<std::string>& arguments,
                          const std::filesystem::path& folder) {
  return finish(start(arguments, folder), folder);
}

ProgramResult run_and_signal(const std::vector<std::string>& arguments,
                             const std::filesystem::path& folder, const std::string& said,
                             double seconds, int signal) {
  const pid_t child = start(arguments, folder);
  while (!said.empty() && read_file(folder / ".errors").find(said) == std::string::npos) {
    siginfo_t ended{};
    if (waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        ended.si_pid == child)
      break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  kill(child, signal);
  return finish(child, folder);
}

}  // namespace microtome::testing

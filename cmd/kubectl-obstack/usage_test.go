// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// eachPath of the command tree, as it is typed behind kubectl obstack.
func eachPath(t *testing.T, do func(t *testing.T, path []string, command *cobra.Command)) {
	t.Helper()
	root := newCommand(genericiooptions.NewTestIOStreamsDiscard())
	eachCommand(root, func(command *cobra.Command) {
		path := strings.Fields(strings.TrimPrefix(command.CommandPath(), root.DisplayName()))
		t.Run(command.CommandPath(), func(t *testing.T) { do(t, path, command) })
	})
}

// TestHelp of every command: as wide as a terminal, with an example, by flag and by command.
func TestHelp(t *testing.T) {
	eachPath(t, func(t *testing.T, path []string, command *cobra.Command) {
		help, errs, code := kubectlObstack(t, "", append(path, "--help")...)
		if code != exitWell || errs != "" || !strings.HasPrefix(command.Example, "  kubectl obstack") ||
			!strings.Contains(help, command.Example) {
			t.Errorf("it ends with %d and says %q, want %d and an example in\n%s", code, errs, exitWell, help)
		}
		for line := range strings.SplitSeq(help, "\n") {
			if utf8.RuneCountInString(line) > columns {
				t.Errorf("%q has more than %d columns", line, columns)
			}
		}
		if again, _, _ := kubectlObstack(t, "", append([]string{"help"}, path...)...); again != help {
			t.Errorf("help shows\n%s\nand --help\n%s", again, help)
		}
	})
}

// TestUsageErrors: whatever no command takes ends with the status of usage, before any cluster is
// asked, and with an example.
func TestUsageErrors(t *testing.T) {
	eachPath(t, func(t *testing.T, path []string, command *cobra.Command) {
		for _, wrong := range [][]string{{"--no-such-flag"}, {"--namespace"}, {"a", "b", "c", "d"}} {
			if command.Name() == "help" && wrong[0] == "a" {
				continue
			}
			out, errs, code := kubectlObstack(t, "/nowhere", append(path, wrong...)...)
			if code != exitUsage || out != "" || !strings.Contains(errs, command.Example) {
				t.Errorf("%v ends with %d, says %q and prints %q, want %d and the example", wrong, code, errs, out, exitUsage)
			}
		}
	})
	wantResults(t, "/nowhere", []result{
		{[]string{"statsu"}, `there is no command "statsu": did you mean status?`, exitUsage},
		{[]string{"help", "statsu"}, `there is no command "statsu": did you mean status?`, exitUsage},
		{[]string{"nothing-like-it"}, "there is no command \"nothing-like-it\"\nExamples:\n", exitUsage},
		{[]string{"status", "--all"}, "did you mean --all-namespaces, --as?", exitUsage},
		{[]string{"status", "--wach"}, "unknown flag: --wach: did you mean --watch?", exitUsage},
		{[]string{"status", "-x"}, `unknown shorthand flag: 'x' in -x`, exitUsage},
		{[]string{"render", "stack.yaml"}, "it takes no arguments, not stack.yaml", exitUsage},
		{[]string{"render", "-f"}, "flag needs an argument", exitUsage},
		{[]string{"completion", "bash"}, "it takes no arguments, not bash", exitUsage},
	})
}

// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Tool is the program of that name that is pinned in hack/tools. If the build cache has it not, it
// is built, which takes long: make tools does that beforehand, and says so.
func Tool(ctx context.Context, name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile=hack/tools/go.mod", "-n", name)
	cmd.Dir = root
	// As make builds it: with other settings the build cache would not have it.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if name == "promtool" {
		cmd.Env = append(cmd.Env, "GOFLAGS=-tags=remove_all_sd")
	}
	interruptOnCancel(cmd)
	output, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w\n%s", err, lastLines(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return strings.TrimSpace(string(output)), nil
}

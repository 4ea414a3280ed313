// SPDX-License-Identifier: Apache-2.0

// Command assets prints the folder that holds the programs of the control plane,
// for KUBEBUILDER_ASSETS, after building what is missing. Its arguments choose
// programs by name; without any it provides all of them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"obstack.dev/obstack/test/testenv"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	programs := make([]testenv.Program, 0, len(os.Args))
	for _, arg := range os.Args[1:] {
		programs = append(programs, testenv.Program(arg))
	}
	dir, err := testenv.Assets(ctx, os.Stderr, programs...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "assets:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}

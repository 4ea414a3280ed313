// SPDX-License-Identifier: Apache-2.0

// Package testenv is what tests, benchmarks and the demo run on: a real Kubernetes control plane on
// free loopback ports, the operator of this checkout as a process beside it, and what to do with
// them (create, change, poll). It needs Go and nothing else, and leaves nothing behind: no process,
// no folder, however the program that started it ends.
package testenv

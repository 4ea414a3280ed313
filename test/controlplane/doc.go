// SPDX-License-Identifier: Apache-2.0

// Package controlplane starts a real Kubernetes control plane on free loopback
// ports, for tests and for the demo, and leaves nothing behind: no process, no
// folder, however the program that started it ends. It needs Go and nothing else,
// and knows nothing of the operator.
package controlplane

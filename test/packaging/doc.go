// SPDX-License-Identifier: Apache-2.0

// Package packaging tests what people install: the Helm chart and the kustomize
// folders. It renders both with the pinned tools and has a real API server judge
// the result.
package packaging

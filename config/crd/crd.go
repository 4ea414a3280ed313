// SPDX-License-Identifier: Apache-2.0

// Package crd holds the CustomResourceDefinitions, for programs that check objects as the API
// server does.
package crd

import _ "embed"

// Stacks defines ObservabilityStack, in YAML.
//
//go:embed bases/obstack.dev_observabilitystacks.yaml
var Stacks []byte

// Platforms defines ObservabilityPlatform, in YAML.
//
//go:embed bases/obstack.dev_observabilityplatforms.yaml
var Platforms []byte

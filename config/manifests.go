// SPDX-License-Identifier: Apache-2.0

// Package config holds what an installation is compared with, as it is in this version.
package config

import "embed"

// Manifests are the roles of the operator, its webhooks and its policies, below the folders of
// this package.
//
//go:embed rbac/*role.yaml webhook/manifests.yaml policy/policy.yaml injection/policies.yaml
var Manifests embed.FS

// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DashboardsSpec asks for Grafana dashboards.
type DashboardsSpec struct {
	// folder of Grafana that the dashboards appear in. Grafana's sidecar must be
	// set up for folders (folderAnnotation and foldersFromFilesStructure).
	// Absent: the sidecar's default folder.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.contains('..') && !self.startsWith('/')",message="folder is a name such as Shop or Teams/Shop: it must neither start with '/' nor contain '..'"
	Folder string `json:"folder,omitempty"`

	// folderAnnotation is the annotation from which Grafana's sidecar reads the folder. Absent:
	// the platform's, else grafana_folder.
	// +optional
	FolderAnnotation FolderAnnotation `json:"folderAnnotation,omitempty"`

	// datasource is the uid of the Prometheus data source that the dashboards open with. Absent:
	// the platform's, else prometheus.
	// +optional
	Datasource Datasource `json:"datasource,omitempty"`

	// grafanaURL is the address of Grafana, such as https://grafana.example.com, to
	// which the links of alerts lead. Absent: the platform's, else they have only the path of the
	// dashboard.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/@?#{}\\\\s]+(/[^?#@{}\\\\s]*)?$')",message="grafanaURL is the address at which people open Grafana, without a user, a query, a fragment or braces: write for example https://grafana.example.com"
	GrafanaURL string `json:"grafanaURL,omitempty"`

	// labels by which Grafana's sidecar finds the ConfigMaps. Absent: the platform's, else
	// {"grafana_dashboard": "1"}.
	// +optional
	Labels Labels `json:"labels,omitempty"`

	// links are shown at the top of every dashboard of the stack, such as the
	// issues of its Sentry project or its logs. The platform's stand behind them.
	// +optional
	// +listType=map
	// +listMapKey=title
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Links []DashboardLink `json:"links,omitempty"`

	// grafanaOperator asks for GrafanaDashboard objects beside the ConfigMaps, for
	// clusters where grafana-operator provides Grafana.
	// +optional
	GrafanaOperator *GrafanaOperatorSpec `json:"grafanaOperator,omitempty"`
}

// Datasource is the uid of a data source of Grafana.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=40
// +kubebuilder:validation:XValidation:rule="self.matches('^[-A-Za-z0-9_]+$')",message="datasource is the uid of a Grafana data source: letters, digits, '-' and '_'"
type Datasource string

// FolderAnnotation is the key of an annotation from which Grafana's sidecar reads the folder.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",message="folderAnnotation must be the key of an annotation, such as grafana_folder"
type FolderAnnotation string

// DashboardLink leads from the dashboards to another page.
type DashboardLink struct {
	// title of the link.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Title string `json:"title,omitempty"`

	// url that the link opens in a new tab, such as
	// https://shop.sentry.io/issues/?project=42. Everybody who sees the dashboard sees it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/]')",message="url must be complete, starting with https:// or http://"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[a-z]+://[^/?#]*@')",message="url must not hold a user name or password: everybody who sees the dashboard would see it"
	URL string `json:"url,omitempty"`
}

// GrafanaOperatorSpec is what a GrafanaDashboard of grafana-operator needs.
type GrafanaOperatorSpec struct {
	// instanceSelector chooses, by their labels, the Grafana objects that show the dashboards.
	// +required
	InstanceSelector metav1.LabelSelector `json:"instanceSelector,omitzero"`

	// allowCrossNamespaceImport lets Grafana objects of other namespaces show the dashboards.
	// +optional
	AllowCrossNamespaceImport bool `json:"allowCrossNamespaceImport,omitempty"`
}

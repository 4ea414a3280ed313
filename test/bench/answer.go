// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/test/testenv"
)

// answer is a webhook that does nothing but answer, always with the same patch: the
// least that a webhook can cost which does what ours does.
type answer struct {
	address string
	asked   atomic.Int64
	patch   []byte
	server  *http.Server
	done    chan error
}

// serveAnswer serves the patch that the operator makes of a stamped Pod.
func serveAnswer(webhooks *testenv.Webhooks, pod *corev1.Pod, stack *obsv1.ObservabilityStack) (*answer, error) {
	patch, err := json.Marshal(policy.PodPatch(pod, policy.Grant{
		Stamp: stampOf(stack), Secret: obsv1.SettingsName(stack.Namespace, stack.Name), SecretExists: true,
	}, nil))
	if err != nil {
		return nil, fmt.Errorf("encode the patch of a Pod: %w", err)
	}
	certificate, err := webhooks.Certificate()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the API server: %w", err)
	}
	a := &answer{address: listener.Addr().String(), patch: patch, done: make(chan error, 1)}
	a.server = &http.Server{
		Handler: a, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	go func() { a.done <- a.server.ServeTLS(listener, "", "") }()
	return a, nil
}

// ServeHTTP reads of a request what the answer must repeat.
func (a *answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked.Add(1)
	var review struct {
		Request struct {
			UID types.UID `json:"uid"`
		} `json:"request"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A failure shows as a Pod that was not injected.
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Response: &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: true, Patch: a.patch, PatchType: new(admissionv1.PatchTypeJSONPatch),
		},
	})
}

// Close stops serving.
func (a *answer) Close() error {
	err := a.server.Close()
	if ended := <-a.done; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

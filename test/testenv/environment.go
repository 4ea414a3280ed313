// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// The files by which the API server and the controller manager agree; envtest
// writes the first two.
const (
	serviceAccountKey = "sa-signer.key"
	rootCA            = "root-ca.crt"
)

// graceTime is how long kube-apiserver may take to end before it is killed.
const graceTime = time.Second

// startEnvironment starts etcd and kube-apiserver and installs the definitions.
func (c *ControlPlane) startEnvironment(options Options, crds []string) error {
	c.Environment = &envtest.Environment{
		CRDDirectoryPaths:     crds,
		ErrorIfCRDPathMissing: true,
		// By itself envtest gives the API server ten seconds to serve them, which it exceeds on a
		// busy machine.
		CRDInstallOptions:        envtest.CRDInstallOptions{MaxTime: startTimeout},
		ControlPlaneStartTimeout: startTimeout,
	}
	plane := &c.Environment.ControlPlane
	server, etcd := plane.GetAPIServer(), &envtest.Etcd{DataDir: c.guard.path("etcd")}
	plane.Etcd = etcd
	// A folder of ours, because envtest would make a new one, with new keys, at each start.
	server.CertDir = c.guard.path("apiserver")

	flags := server.Configure()
	if options.ControllerManager {
		// envtest turns the admission of service accounts off, because it has no
		// controller that makes them.
		flags.Disable("disable-admission-plugins")
	}
	// envtest's own range is used up by 254 Services.
	flags.Set("service-cluster-ip-range", "10.96.0.0/16")
	for name, value := range options.APIServerFlags {
		flags.Set(name, value)
	}

	var err error
	if server.Path, err = c.guard.wrap(c.Assets, APIServer); err != nil {
		return err
	}
	if etcd.Path, err = c.guard.wrap(c.Assets, Etcd); err != nil {
		return err
	}
	closeLogs, err := c.logEnvironment(server, etcd)
	if err != nil {
		return err
	}
	defer closeLogs()
	if c.Config, err = c.Environment.Start(); err != nil {
		return fmt.Errorf("start etcd and kube-apiserver: %w\n%s", err, c.tail(APIServer))
	}
	// envtest makes keys for webhooks that there are none of, beside the folder that is guarded.
	if err := c.Environment.WebhookInstallOptions.Cleanup(); err != nil {
		return fmt.Errorf("remove a folder of envtest: %w", err)
	}
	// envtest's limit of 1,000 requests a second would be part of what tests and benchmarks
	// measure.
	c.Config.QPS = -1
	return os.WriteFile(c.guard.path("apiserver", rootCA), c.Config.CAData, 0o600)
}

// stopEnvironment stops etcd. envtest may not have noticed yet that kube-apiserver
// is gone, and then fails to signal it, in which case it has noticed by the next call.
func (c *ControlPlane) stopEnvironment() error {
	err := c.Environment.Stop()
	if errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH) {
		err = c.Environment.Stop()
	}
	return err
}

// logEnvironment sends the output of both programs to files. The programs
// inherit them, so ours can be closed as soon as the programs run.
func (c *ControlPlane) logEnvironment(server *envtest.APIServer, etcd *envtest.Etcd) (func(), error) {
	serverLog, err := c.openLog(APIServer)
	if err != nil {
		return nil, err
	}
	etcdLog, err := c.openLog(Etcd)
	if err != nil {
		return nil, errors.Join(err, serverLog.Close())
	}
	server.Out, server.Err = serverLog, serverLog
	etcd.Out, etcd.Err = etcdLog, etcdLog
	return func() { _, _ = serverLog.Close(), etcdLog.Close() }, nil
}

func (c *ControlPlane) openLog(program Program) (*os.File, error) {
	file, err := os.OpenFile(c.guard.path("logs", string(program)+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", program, err)
	}
	return file, nil
}

func (c *ControlPlane) tail(program Program) string {
	content, err := os.ReadFile(c.guard.path("logs", string(program)+".log"))
	if err != nil {
		return err.Error()
	}
	return lastLines(string(content))
}

// StopAPIServer stops kube-apiserver. Its data, port and credentials stay.
//
// envtest's own way is not used: it waits for the watches of all clients to end,
// up to a minute, and fails if they do not.
func (c *ControlPlane) StopAPIServer(ctx context.Context) error {
	pid, err := c.guard.pid(string(APIServer))
	if err != nil || pid == 0 {
		return err
	}
	if err := terminate(ctx, pid); err != nil {
		return fmt.Errorf("stop kube-apiserver: %w", err)
	}
	return c.guard.forget(string(APIServer))
}

// terminate asks a process to end, kills it if it has not soon, and waits for that.
func terminate(ctx context.Context, pid int) error {
	signal, asked := syscall.SIGTERM, time.Now()
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, startTimeout, true, func(context.Context) (bool, error) {
		if time.Since(asked) > graceTime {
			signal = syscall.SIGKILL
		}
		err := syscall.Kill(pid, signal)
		if signal == syscall.SIGTERM {
			signal = 0 // only looks whether the process is there
		}
		if errors.Is(err, syscall.ESRCH) {
			return true, nil
		}
		return false, err
	})
}

// StartAPIServer starts kube-apiserver again and waits until it responds.
func (c *ControlPlane) StartAPIServer() error {
	server := c.Environment.ControlPlane.APIServer
	log, err := c.openLog(APIServer)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	server.Out, server.Err = log, log
	if err := server.Start(); err != nil {
		return fmt.Errorf("start kube-apiserver: %w\n%s", err, c.tail(APIServer))
	}
	return nil
}

// User is a kubeconfig file for a user of that name in those groups, with no other
// rights than theirs.
func (c *ControlPlane) User(name string, groups ...string) (string, error) {
	user, err := c.Environment.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{})
	if err != nil {
		return "", fmt.Errorf("make credentials for %s: %w", name, err)
	}
	content, err := user.KubeConfig()
	if err != nil {
		return "", fmt.Errorf("make a kubeconfig for %s: %w", name, err)
	}
	file := c.guard.path(name + ".kubeconfig")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", name, err)
	}
	return file, nil
}

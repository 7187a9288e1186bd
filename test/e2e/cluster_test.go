package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
)

// systemNamespace is the operator's.
const systemNamespace = "mollymawk-system"

// cluster is access to the API server of a running program.
type cluster struct {
	client.Client
	config     *rest.Config
	kubeconfig string
}

func newCluster(t *testing.T, kubeconfig string) *cluster {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	s := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(s), v1alpha1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: s})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{Client: c, config: config, kubeconfig: kubeconfig}
}

// unikernel reads one.
func (c *cluster) unikernel(t *testing.T, namespace, name string) *v1alpha1.Unikernel {
	t.Helper()
	uk := &v1alpha1.Unikernel{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, uk); err != nil {
		t.Fatal(err)
	}
	return uk
}

func (c *cluster) instance(t *testing.T, name string) *v1alpha1.AlbatrossInstance {
	t.Helper()
	instance := &v1alpha1.AlbatrossInstance{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: name}, instance); err != nil {
		t.Fatal(err)
	}
	return instance
}

// waitReady waits until a unikernel is as it is declared now, and gives it.
func (c *cluster) waitReady(t *testing.T, namespace, name string) *v1alpha1.Unikernel {
	t.Helper()
	var uk *v1alpha1.Unikernel
	eventually(t, name+" is ready", func() error {
		uk = c.unikernel(t, namespace, name)
		if uk.Status.ObservedGeneration != uk.Generation || !apimeta.IsStatusConditionTrue(uk.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("generation %d, status %+v", uk.Generation, uk.Status)
		}
		return nil
	})
	return uk
}

// host gives a client of an instance's host, made of what the operator itself uses. It says what is on the host whatever the
// operator believes.
func (c *cluster) host(t *testing.T, instanceName string) *albatross.Client {
	t.Helper()
	instance := c.instance(t, instanceName)
	var secret corev1.Secret
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: instance.Spec.CredentialsSecretRef.Name}, &secret); err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(string(instance.Spec.Endpoint.Host), strconv.Itoa(int(instance.Spec.Endpoint.PortOrDefault())))
	return newHostClient(t, address, secret.Data["tls.crt"], secret.Data["tls.key"], secret.Data["ca.crt"])
}

func newHostClient(t *testing.T, address string, certificate, key, serverCA []byte) *albatross.Client {
	t.Helper()
	credential, err := albatross.ParseCredential(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	cas, err := albatross.ParseServerCA(serverCA)
	if err != nil {
		t.Fatal(err)
	}
	c, err := albatross.New(albatross.Options{Addr: address, Credential: credential, ServerCAs: cas, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// running asks a host for one unikernel by its full name.
func running(ctx context.Context, t *testing.T, host *albatross.Client, name string) (albatross.Unikernel, bool) {
	t.Helper()
	all, err := host.Unikernels(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range all {
		if u.Name.String() == name {
			return u, true
		}
	}
	return albatross.Unikernel{}, false
}

// eventually waits until nothing is wrong any more.
func eventually(t *testing.T, what string, problem func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := problem()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", patience, what, err)
		}
	}
}

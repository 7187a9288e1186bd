// Package controlplane runs a real Kubernetes API server inside the calling
// process: Kubernetes' generic control plane (namespaces, Secrets, ConfigMaps,
// service accounts, RBAC, Leases, Events, CustomResourceDefinitions, admission
// policies; no pods, services or nodes), an embedded etcd that keeps its
// objects, and the four controllers without which such a server is not usable:
// namespace (finishes the deletion of namespaces), garbage collector (owner
// references), service account (the default account of a namespace) and
// cluster role aggregation.
//
// # Data folder
//
// Everything a control plane keeps lives in one folder of mode 0700:
//
//	lock                 locked while a process uses the folder; holds its process id
//	kubeconfig           administrator's kubeconfig, mode 0600, complete in itself
//	control-plane.log    log of Kubernetes and etcd, rotated at 10 MiB, two old files kept
//	pki/ca.pem           certificate authority, certificate and key
//	pki/serving.pem      certificate and key of the API server
//	pki/admin.pem        certificate and key of the administrator (group system:masters)
//	pki/service-account.pem  key that signs service account tokens
//	etcd/                all Kubernetes objects
//	etcd/initialised     tells that etcd/ is to be kept; without it etcd starts anew
//	etcd/client.sock     etcd's socket; in a temporary folder when this path is too long for one
//
// The folder survives being killed at any moment: files are replaced
// atomically and etcd writes ahead. A copy of the folder of a stopped control
// plane is a backup.
//
// # Certificates
//
// At every start certificates that could end before the next necessary restart
// are renewed. That restart is due three years after the start: the API server
// talks to itself with a certificate of that fixed life and fails /livez when
// it has ended.
//
// # One at a time
//
// A process runs one control plane at a time, because Kubernetes keeps its
// log, feature gates and metrics in global variables. It may start another one
// when the first has ended.
package controlplane

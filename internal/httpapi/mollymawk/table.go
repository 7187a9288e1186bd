package mollymawk

import (
	"net/http"

	"mollymawk.dev/operator/internal/httpapi/openapi"
)

const (
	get  = http.MethodGet
	post = http.MethodPost
)

// table has all calls. Each has the documented path first, then that of the
// original where it is another one.
func (f *Face) table() []route {
	return []route{
		{method: get, paths: []string{"/openapi.yaml"}, handle: (*call).openAPI},
		{method: post, paths: []string{"/api/login"}, handle: (*call).login, notObject: "Update password: expected a dictionary"},
		{method: post, paths: []string{"/api/register"}, handle: (*call).register, notObject: "Register account: expected a dictionary"},

		{method: get, paths: []string{"/api/account"}, access: users, handle: (*call).account},
		{method: get, paths: []string{"/api/account/csrf"}, access: users, handle: (*call).csrf},
		{method: post, paths: []string{"/api/logout", "/logout"}, access: users, handle: (*call).logout},
		{method: post, paths: []string{"/api/account/password", "/account/password/update"}, access: users, handle: (*call).changePassword},
		{method: post, paths: []string{"/api/account/session/close"}, access: users, handle: (*call).closeSession},
		{method: post, paths: []string{"/api/account/sessions/close"}, access: users, handle: (*call).closeSessions},

		{method: get, paths: []string{"/api/tokens"}, access: users, handle: (*call).listTokens, anonymous: noTokenText},
		{method: post, paths: []string{"/api/tokens/create"}, access: users, handle: (*call).createToken, anonymous: noTokenText},
		{method: post, paths: []string{"/api/tokens/update"}, access: users, handle: (*call).updateToken, anonymous: noTokenText},
		{method: post, paths: []string{"/api/tokens/delete"}, access: users, handle: (*call).deleteToken, anonymous: noTokenText},

		{method: get, paths: []string{"/api/unikernels"}, access: users, handle: (*call).listUnikernels},
		{method: post, paths: []string{"/api/unikernel/create"}, access: users, placed: true, form: true, handle: (*call).createUnikernel},
		{method: post, paths: []string{"/api/unikernel/destroy"}, access: users, placed: true, handle: (*call).destroyUnikernel},
		{method: post, paths: []string{"/api/unikernel/restart"}, access: users, placed: true, handle: (*call).restartUnikernel},
		{method: get, paths: []string{"/api/unikernel/console"}, access: users, placed: true, handle: (*call).console},
		{method: post, paths: []string{"/api/unikernel/update"}, access: users, placed: true, handle: (*call).updateUnikernel},
		{method: post, paths: []string{"/api/unikernel/rollback"}, access: users, placed: true, handle: (*call).rollbackUnikernel},

		{method: get, paths: []string{"/api/volumes"}, access: users, handle: (*call).listVolumes},
		{method: post, paths: []string{"/api/volume/create", "/api/block/create"}, access: users, placed: true, form: true, handle: (*call).createVolume},
		{method: post, paths: []string{"/api/volume/upload", "/api/block/upload"}, access: users, placed: true, form: true, handle: (*call).uploadVolume},
		{method: post, paths: []string{"/api/volume/delete", "/api/block/delete"}, access: users, placed: true, handle: (*call).deleteVolume},
		{method: post, paths: []string{"/api/volume/download", "/api/block/download"}, access: users, placed: true, handle: (*call).downloadVolume},

		{method: get, paths: []string{"/api/instances"}, access: users, handle: (*call).listInstances},
		{method: get, paths: []string{"/api/policies"}, access: users, handle: (*call).listPolicies},

		{method: get, paths: []string{"/api/admin/users"}, access: admins, handle: (*call).listUsers},
		{method: post, paths: []string{"/api/admin/user/activate/toggle"}, access: admins, handle: (*call).toggleActive},
		{method: post, paths: []string{"/api/admin/user/admin/toggle"}, access: admins, handle: (*call).toggleAdmin},
		{method: post, paths: []string{"/api/admin/user/account/delete"}, access: admins, handle: (*call).deleteUser},
		{method: post, paths: []string{"/api/admin/u/policy/update"}, access: admins, handle: (*call).updatePolicy},
		{method: get, paths: []string{"/api/admin/albatross/retry"}, access: admins, handle: (*call).retry},
		{method: post, paths: []string{"/api/admin/settings/albatross/create"}, access: admins, handle: (*call).createInstance},
		{method: post, paths: []string{"/api/admin/settings/albatross/update"}, access: admins, handle: (*call).updateInstance},
		{method: post, paths: []string{"/api/admin/settings/albatross/delete"}, access: admins, handle: (*call).deleteInstance},
	}
}

// openAPI gives the description of all faces.
func (c *call) openAPI() reply {
	c.w.Header().Set("Content-Type", "application/yaml")
	_, _ = c.w.Write(openapi.Document)
	return answered
}


/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_HTTP_GCS_H_INCLUDED_
#define _NGX_HTTP_GCS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gcs_types.h"
#include "ngx_http_gcs_header.h"
#include "ngx_gcs_check_cause.h"
#include "ngx_http_gcs_check.h"
#include "ngx_http_gcs_cors.h"
#include "ngx_http_gcs_status.h"
#include "ngx_http_gcs_takeover.h"
#include "ngx_http_gcs_list.h"
#include "ngx_http_gcs_write.h"
#include "ngx_http_gcs_api.h"


extern ngx_module_t  ngx_http_gcs_proxy_module;
extern ngx_module_t  ngx_http_gcs_filter_module;

/* of nginx, which has no header for it before 1.29.4 */
extern ngx_module_t  ngx_http_proxy_module;


/* ngx_http_gcs_merge.c */

/* merges a location with the outer one */
char *ngx_http_gcs_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child);

/*
 * Logs text at level emerg with the place of the location's "gcs_pass" or
 * "gcs_auth", for faults that are found when the whole configuration has
 * been read; returns NGX_CONF_ERROR.
 */
char *ngx_http_gcs_conf_error(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    const char *fmt, ...);

/* the same at level warn, and nothing fails */
void ngx_http_gcs_conf_warn(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    const char *fmt, ...);


/* ngx_http_gcs_directives.c */

/* the handlers of the directives of these names */
char *ngx_http_gcs_object(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_gcs_auth(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_gcs_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_gcs_buckets(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_gcs_set_header(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_gcs_user_project(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* text with variables, ready to be evaluated.  NULL: a fault, logged */
ngx_http_complex_value_t *ngx_http_gcs_compile(ngx_conf_t *cf,
    ngx_str_t *text);

/*
 * Adds the arguments "NAME VALUE" of the directive, the value with variables,
 * to the list of ngx_http_gcs_header_t, which may be unset yet.
 */
char *ngx_http_gcs_push_header(ngx_conf_t *cf, ngx_array_t **list);


/* ngx_http_gcs_credentials.c */

/* the handler of "gcs_credentials NAME { ... }" */
char *ngx_http_gcs_credentials(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* ngx_http_gcs_block.c */

/* the directives inside of the block; conf is an ngx_http_gcs_block_t */
extern ngx_command_t  ngx_http_gcs_credentials_commands[];


/* ngx_http_gcs_federation.c */

/* what the block says of a subject token, if anything, goes into the preset */
char *ngx_http_gcs_subject(ngx_conf_t *cf, ngx_http_gcs_block_t *block);

/* the handler of "subject_token_header" */
char *ngx_http_gcs_subject_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* makes the preset of a federation by directives alone */
char *ngx_http_gcs_federation(ngx_conf_t *cf, ngx_http_gcs_block_t *block);

/* whether it may be the e-mail address of an account */
ngx_uint_t ngx_http_gcs_email_valid(ngx_str_t *email);


/* ngx_http_gcs_environment.c */

/*
 * Looks for application default credentials: sets source->file, or makes the
 * preset one of the metadata server.
 */
char *ngx_http_gcs_environment_default(ngx_conf_t *cf,
    ngx_gcs_source_t *source);

/* the metadata server's host, empty if the environment names none */
char *ngx_http_gcs_environment_metadata(ngx_conf_t *cf, ngx_str_t *host);

/* what AWS's clients would find; read once.  NULL: a fault has been logged */
ngx_gcs_aws_environment_t *ngx_http_gcs_environment_aws(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf);


/* ngx_http_gcs_identity.c */

/* the identity of that name, declared or built in, or NULL */
ngx_http_gcs_identity_t *ngx_http_gcs_identity(ngx_http_gcs_main_conf_t *gmcf,
    ngx_str_t *name);

/* adds the built-in identities; before any other is declared */
ngx_int_t ngx_http_gcs_identity_init(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf);

/* an identity without a source; the caller adds it to the others */
ngx_http_gcs_identity_t *ngx_http_gcs_identity_create(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf, ngx_str_t *name);

/*
 * The identity "default", made when it is needed for the first time: the
 * application default credentials.  NULL: the fault has been logged.
 */
ngx_http_gcs_identity_t *ngx_http_gcs_identity_default(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf);

/* finds application default credentials for the identity, and loads them */
char *ngx_http_gcs_identity_search(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf, ngx_http_gcs_identity_t *identity);

/* loads the source, whose file and preset are set */
char *ngx_http_gcs_identity_load(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf, ngx_http_gcs_identity_t *identity);

/* tells what the search for application default credentials has found */
void ngx_http_gcs_identity_notice(ngx_log_t *log,
    ngx_http_gcs_main_conf_t *gmcf);

/* gives every identity its token, when all locations are known */
ngx_int_t ngx_http_gcs_identity_tokens(ngx_conf_t *cf,
    ngx_http_gcs_main_conf_t *gmcf);


/* ngx_http_gcs_endpoint.c */

/* the handler of "gcs_endpoint" */
char *ngx_http_gcs_endpoint(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* the address of the location's endpoint, also where there is no "gcs_pass" */
ngx_http_gcs_address_t *ngx_http_gcs_address(ngx_http_gcs_loc_conf_t *conf);

/* finds the address for a location without an endpoint that may sign URLs */
char *ngx_http_gcs_address_merge(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);

/*
 * The endpoint of the location, made when it is used for the first time: an
 * upstream that keeps connections, and a TLS context.  NULL: the fault has
 * been logged.
 */
ngx_http_gcs_endpoint_t *ngx_http_gcs_endpoint_get(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);


/* ngx_http_gcs_implicit.c */

/*
 * The user's own upstream of the endpoint's name, or NULL; ours have a "|" in
 * their names.
 */
ngx_http_upstream_srv_conf_t *ngx_http_gcs_upstream_find(ngx_conf_t *cf,
    ngx_http_gcs_endpoint_t *ep);

/*
 * Makes what "upstream NAME { server ...; keepalive N; }" would: so that
 * connections are kept on every nginx version, with nothing of it in the
 * user's configuration.  NULL: the fault has been logged.
 */
ngx_http_upstream_srv_conf_t *ngx_http_gcs_upstream_create(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf, ngx_http_gcs_endpoint_t *ep);

/* whether all addresses of the upstream are on this machine */
ngx_uint_t ngx_http_gcs_upstream_local(ngx_http_upstream_srv_conf_t *us);


/* ngx_http_gcs_proxy.c */

/*
 * Configures the stock proxy of the location for "gcs_pass", before the
 * proxy module merges its own configuration.
 */
char *ngx_http_gcs_proxy_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf);

/*
 * The second half, after the proxy module has merged: the shared TLS context
 * and our content handler, also in the hidden locations of "if" and
 * "limit_except".
 */
char *ngx_http_gcs_proxy_finish(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf);

/*
 * Notes a user's "proxy_cache_key"; the merge hands it on to the stock proxy,
 * in locations with "gcs_pass" together with the object's name.
 */
char *ngx_http_gcs_proxy_cache_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* whether "proxy_http_version" is 2, also before the merge */
ngx_uint_t ngx_http_gcs_proxy_http2(ngx_http_gcs_loc_conf_t *conf);

/* the stock proxy's directive of that name, or NULL */
ngx_command_t *ngx_http_gcs_proxy_command(char *name);

/*
 * Where the value of the stock proxy's directive is kept, or NULL if this
 * nginx has no such directive; for directives with a simple slot.
 */
void *ngx_http_gcs_proxy_value(ngx_http_upstream_conf_t *conf, char *name);

/* whether the user has set the value of the directive at this very level */
ngx_uint_t ngx_http_gcs_proxy_is_set(ngx_http_upstream_conf_t *conf,
    char *name, ngx_http_gcs_unset_e unset);

/*
 * Calls the stock proxy's directive of that name for the location, with one
 * argument or two (arg2 may be NULL), as if it were written there.
 */
char *ngx_http_gcs_proxy_call(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *conf,
    char *name, ngx_str_t *arg1, ngx_str_t *arg2);


/* ngx_http_gcs_defaults.c */

/* good values where the user has set none, here or at an outer level */
char *ngx_http_gcs_proxy_defaults(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *conf);

/*
 * Where the value of a directive of the module is kept at that level, or NULL
 * if it has no such directive; for directives with a simple slot.
 */
void *ngx_http_gcs_module_value(ngx_http_gcs_loc_conf_t *level,
    ngx_module_t *module, char *name);

/* the module of that name in this nginx, or NULL */
ngx_module_t *ngx_http_gcs_find_module(ngx_conf_t *cf, char *name);


/* ngx_http_gcs_pass.c */

/* the content handler of "gcs_pass" */
ngx_int_t ngx_http_gcs_handler(ngx_http_request_t *r);

/* the phase handler: methods, and a token for the variables */
ngx_int_t ngx_http_gcs_precontent_handler(ngx_http_request_t *r);

/*
 * The context of the request, also after an internal redirect or an error of
 * a filter has cleared it; NULL if none was made.
 */
ngx_http_gcs_ctx_t *ngx_http_gcs_get_ctx(ngx_http_request_t *r);

/*
 * The context that our wrapper around r->upstream belongs to, when that ends:
 * it may be another one than the request has by now.
 */
ngx_http_gcs_ctx_t *ngx_http_gcs_wrapped_ctx(ngx_http_request_t *r);

/* that of the request, but makes one; NULL if memory is out */
ngx_http_gcs_ctx_t *ngx_http_gcs_make_ctx(ngx_http_request_t *r);

/*
 * Notes why there is no token, logs it once, and returns the HTTP status:
 * 504 for NGX_AGAIN (waited too long), else 502.
 */
ngx_int_t ngx_http_gcs_token_failed(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_gcs_token_t *token, ngx_int_t rc);

/*
 * Waits for the token as "gcs_token_timeout" says, then calls resume.
 * NGX_AGAIN; or an HTTP status, there is no time to wait.
 */
ngx_int_t ngx_http_gcs_wait_token(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_gcs_token_t *token,
    ngx_http_gcs_resume_pt resume);

/*
 * Prepares the request for a wait that ends with ngx_http_gcs_wake(), unless
 * the client goes away.  NGX_OK or an HTTP status.
 */
ngx_int_t ngx_http_gcs_suspend(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_gcs_resume_pt resume);

/*
 * Sees a client that goes away while the request waits; action is for log
 * lines.  NGX_OK or an HTTP status.
 */
ngx_int_t ngx_http_gcs_watch(ngx_http_request_t *r, char *action);

/*
 * Takes back what the wait has set: the stock upstream does not always, and
 * ngx_http_test_reading() would finalize the request under it.
 */
void ngx_http_gcs_unwatch(ngx_http_request_t *r);

/*
 * Goes on, from an event's handler, with rc as for ngx_http_gcs_resume_pt;
 * the request may be gone afterwards.
 */
void ngx_http_gcs_wake(ngx_http_gcs_ctx_t *ctx, ngx_int_t rc);

/* adds "Allow", the methods of the location, to the answer */
ngx_int_t ngx_http_gcs_add_allow(ngx_http_request_t *r);

/* runs the stock proxy, when there is a token or none is needed */
ngx_int_t ngx_http_gcs_run(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx);

/* goes on with a request whose content handler is ours */
void ngx_http_gcs_content_resume(ngx_http_request_t *r, ngx_int_t rc);


/* ngx_http_gcs_address.c */

/*
 * Finds bucket, object and identity of the request.  NGX_OK; or an HTTP
 * status, with ctx->error set and the cause logged.
 */
ngx_int_t ngx_http_gcs_resolve(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* makes ctx->uri of ctx->object */
ngx_int_t ngx_http_gcs_make_uri(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/*
 * Calls what makes a request of the stock proxy: its content handler, or its
 * create_request(), and returns what that returns.
 *
 * A URI that "proxy_pass" has not got, and that does not follow from the
 * client's, it takes from a variable, then makes a URL of it, parses that, and
 * looks for the upstream among all there are: a thousand instructions, of
 * thirty thousand.  But where "proxy_pass" has no URI at all it sends the
 * client's as it has arrived, and in a "direct" location that one is ours
 * until the request is made.  Other code must not see it: the request has to
 * be made before the handler returns, with no variable of the user's.
 */
ngx_int_t ngx_http_gcs_proxied(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_http_handler_pt handler);

/*
 * The request has been made: the client's URI is put back, and the upstream,
 * about which "proxy_pass" does not know all, is completed.  NGX_ERROR and a
 * line in the log if the request has the client's URI: it must not be sent.
 */
ngx_int_t ngx_http_gcs_proxied_uri(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* whether "gcs_buckets" of the location lets the object be asked for */
ngx_uint_t ngx_http_gcs_bucket_allowed(ngx_http_gcs_loc_conf_t *glcf,
    ngx_gcs_object_t *object);

/*
 * Notes error, a word for "$gcs_error", logs reason, a text, and returns
 * status; both must be constant strings.
 */
ngx_int_t ngx_http_gcs_refuse(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_int_t status, char *error, char *reason);


/* ngx_http_gcs_upstream.c */

/*
 * Puts our wrapper around the balancer of the upstream.  Idempotent; called
 * before upstreams are initialized.
 */
ngx_int_t ngx_http_gcs_upstream_wrap(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);

/* stops what waits for the request; from the cleanup of its pool */
void ngx_http_gcs_upstream_stop(ngx_http_gcs_ctx_t *ctx);

/*
 * Calls a handler of the stock code with its own process_header() in place of
 * ours.  The stock code moves on to the next one after the status line, and
 * back when it begins anew: *process_header is which one it is.
 */
ngx_int_t ngx_http_gcs_stock(ngx_http_request_t *r,
    ngx_http_handler_pt *process_header, ngx_http_handler_pt handler);

/*
 * Holds the request, when something has been set up that will call
 * ngx_http_gcs_resume(); the caller returns what this returns from
 * process_header().
 */
ngx_int_t ngx_http_gcs_hold(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx);

/*
 * Ends a hold, from an event's handler: with a result of 0 by another request
 * to GCS, else by answering that HTTP status.  The request may be gone
 * afterwards.
 */
void ngx_http_gcs_resume(ngx_http_gcs_ctx_t *ctx, ngx_uint_t result);

/*
 * To be returned from process_header(): makes nginx send the request again,
 * made anew.  NGX_ERROR if memory is out.
 */
ngx_int_t ngx_http_gcs_retry(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx);


/* ngx_http_gcs_answer.c */

/*
 * Decides upon the response header of GCS, and upon an error whose body is
 * still being read; what they return is for process_header() to return.
 */
ngx_int_t ngx_http_gcs_judge(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx);
ngx_int_t ngx_http_gcs_judge_error(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);


/* ngx_http_gcs_error.c */

/* the status that a client gets when GCS has answered an error */
ngx_int_t ngx_http_gcs_map_status(ngx_uint_t status);

/*
 * Reads the body of an error answer: ctx->error becomes its code, such as
 * "NoSuchKey", and ctx->details a text for the log.  NGX_AGAIN: more of it
 * must arrive.  Sets u->keepalive when the body has been read to its end.
 */
ngx_int_t ngx_http_gcs_read_error(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/*
 * To be returned from process_header(): logs the cause and makes nginx
 * answer status with its own page.  NGX_ERROR if memory is out.
 */
ngx_int_t ngx_http_gcs_fail(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx,
    ngx_int_t status);

/* undoes what ngx_http_gcs_fail() did to the request's configuration */
void ngx_http_gcs_restore_conf(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/*
 * Adds a header to the answer; name is a constant, value is not copied.  NULL:
 * memory is out.
 */
ngx_table_elt_t *ngx_http_gcs_add_header(ngx_http_request_t *r, char *name,
    ngx_str_t *value);

/* the value of the first header of that name in the list, or NULL */
ngx_str_t *ngx_http_gcs_find_header(ngx_list_t *headers, char *name);


/* ngx_http_gcs_variables.c */

/* adds them, from preconfiguration */
ngx_int_t ngx_http_gcs_add_variables(ngx_conf_t *cf);

/* the value of "$gcs_token_status", a constant */
ngx_str_t *ngx_http_gcs_token_word(ngx_gcs_token_state_t *state);

/* makes value, which is not copied, the value of a variable */
void ngx_http_gcs_set_value(ngx_http_variable_value_t *v, ngx_str_t *value);

/*
 * The value of "$slice_range" for the request, empty where "slice" is off.
 * The first evaluation makes nginx serve the request by slices.
 */
ngx_str_t ngx_http_gcs_slice_range(ngx_http_request_t *r);


/* ngx_http_gcs_list_conf.c */

/* the values of "gcs_autoindex" */
extern ngx_conf_enum_t  ngx_http_gcs_autoindex_formats[];

/* the handler of "gcs_autoindex_filter" */
char *ngx_http_gcs_autoindex_filter(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* merges "gcs_autoindex*", and checks that they go together */
char *ngx_http_gcs_list_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf);


/* ngx_http_gcs_list.c */

/* whether the request, whose object is known, is one for a listing */
ngx_uint_t ngx_http_gcs_list_wanted(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* whether it is one for an index, in whose place there may be a listing */
ngx_uint_t ngx_http_gcs_list_may_follow(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/*
 * Makes the request for a page of it: sets ctx->uri.  NGX_OK or an HTTP
 * status.
 */
ngx_int_t ngx_http_gcs_list_handler(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* runs the stock proxy for it, for an index or for what is not found */
ngx_int_t ngx_http_gcs_list_run(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);


/* ngx_http_gcs_list_header.c */

/* whether GCS's answer is a listing; else ctx->error tells */
ngx_uint_t ngx_http_gcs_list_expected(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* what the client gets when GCS has refused to list */
ngx_int_t ngx_http_gcs_list_status(ngx_http_gcs_ctx_t *ctx);

/* makes the header of the answer to the client */
ngx_int_t ngx_http_gcs_list_header(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);


/* ngx_http_gcs_list_filter.c */

/* puts the body filter in its place */
void ngx_http_gcs_list_init(void);


/* ngx_http_gcs_absent_conf.c */

/* the handlers of the directives of these names */
char *ngx_http_gcs_index(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_gcs_not_found(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* merges them and "gcs_autoindex", and checks what they go together with */
char *ngx_http_gcs_absent_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf);


/* ngx_http_gcs_absent.c */

/* makes the object of a folder the one that "gcs_index" names, if it does */
ngx_int_t ngx_http_gcs_absent_index(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/*
 * When GCS has answered 404, which has been read: to be returned from
 * process_header(), or NGX_DECLINED if that is the answer.
 */
ngx_int_t ngx_http_gcs_absent(ngx_http_request_t *r, ngx_http_gcs_ctx_t *ctx);

/* likewise, for the answer to the question whether there is a folder */
ngx_int_t ngx_http_gcs_absent_probed(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);


/* ngx_http_gcs_presign.c */

/*
 * Whether the request is to be answered with a signed URL: 1 or 0; or
 * NGX_ERROR, "gcs_mode" yields neither mode, which has been logged.
 */
ngx_int_t ngx_http_gcs_presigning(ngx_http_request_t *r);

/* the bit in "gcs_methods" that a signed method needs */
ngx_uint_t ngx_http_gcs_presign_bit(ngx_str_t *method);

/* whether the method of the request may ask for a signed URL */
ngx_uint_t ngx_http_gcs_presign_allowed(ngx_http_request_t *r);

/* answers with a signed URL, when the address is known */
ngx_int_t ngx_http_gcs_presign(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx);

/* the method that is signed */
ngx_str_t *ngx_http_gcs_presign_what(ngx_http_request_t *r);

/* the pairs NAME and VALUE of a directive, without those of an empty value */
ngx_array_t *ngx_http_gcs_presign_pairs(ngx_http_request_t *r,
    ngx_array_t *list);


/* ngx_http_gcs_signature.c */

/* who signs URLs for the identity */
ngx_http_gcs_signs_e ngx_http_gcs_signs(ngx_http_gcs_identity_t *identity);

/*
 * Makes ctx->signed_url, once for a request, which is valid until
 * ctx->signed_until.  NGX_OK; NGX_AGAIN, resume will be called when it is
 * worth another try; or an HTTP status, with ctx->error set and the cause
 * logged.  resume may be NULL: what takes a while is not waited for.
 */
ngx_int_t ngx_http_gcs_sign_url(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_gcs_resume_pt resume);

/*
 * The same for a variable, in a phase handler: NGX_AGAIN, or NGX_DECLINED,
 * there will be a URL or there is none.
 */
ngx_int_t ngx_http_gcs_signature_ready(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_gcs_resume_pt resume);


/* ngx_http_gcs_presign_conf.c */

/* the handlers of "gcs_presign_*" and "gcs_mode" */
char *ngx_http_gcs_mode(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_gcs_presign_ttl(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_gcs_presign_window(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_gcs_presign_answer(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_gcs_presign_method(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_gcs_presign_pair(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_gcs_presign_host(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_gcs_presign_cache(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * The cache that an argument "zone=NAME[:SIZE]" of a directive names.  NULL:
 * the fault has been logged.
 */
ngx_gcs_url_cache_t *ngx_http_gcs_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_str_t *value);

/* whether the location asks nothing of GCS, but answers with URLs of TLS */
ngx_uint_t ngx_http_gcs_presign_only(ngx_http_gcs_loc_conf_t *conf);

/* merges them, and checks that they go together */
char *ngx_http_gcs_presign_merge(ngx_conf_t *cf,
    ngx_http_gcs_loc_conf_t *prev, ngx_http_gcs_loc_conf_t *conf);


/* ngx_http_gcs_hmac.c */

/* forgets the derived key of another secret, before identity->key is used */
void ngx_http_gcs_hmac_renew(ngx_http_gcs_identity_t *identity);

/* whether the identity signs requests with an HMAC key */
ngx_uint_t ngx_http_gcs_hmac(ngx_http_gcs_identity_t *identity);

/*
 * Makes the value of "Authorization" for the request as it is about to be
 * sent.  NGX_ERROR: it cannot be signed, which has been logged.
 */
ngx_int_t ngx_http_gcs_hmac_authorization(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_http_variable_value_t *v);

/* the project that is billed: of "gcs_user_project", or of the identity */
ngx_int_t ngx_http_gcs_user_project_value(ngx_http_request_t *r,
    ngx_http_gcs_ctx_t *ctx, ngx_str_t *value);

/* headers that go with it, and with an identity's "quota_project" */
ngx_int_t ngx_http_gcs_hmac_date_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_gcs_hmac_hash_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_gcs_user_project_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


/* ngx_http_gcs_request.c */

/* the values of the headers of the request to GCS, as variables' handlers */
ngx_int_t ngx_http_gcs_client_lines_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_gcs_accept_encoding_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_gcs_range_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_gcs_condition_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_gcs_content_length_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


#endif /* _NGX_HTTP_GCS_H_INCLUDED_ */

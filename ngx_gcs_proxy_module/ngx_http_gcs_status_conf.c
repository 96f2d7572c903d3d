
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/*
 * The zone of the counters is made as large as the configuration needs, and
 * twice that, so that most reloads find it large enough and keep it: then old
 * workers that still have requests count on where the new ones do.  Only if it
 * is too small another one takes its place, with what was counted so far.
 */


static ngx_http_gcs_status_t *ngx_http_gcs_status_get(ngx_conf_t *cf);
static ngx_int_t ngx_http_gcs_status_label(ngx_conf_t *cf,
    ngx_http_gcs_status_location_t *location);
static size_t ngx_http_gcs_status_size(ngx_http_gcs_main_conf_t *gmcf);
static ngx_uint_t ngx_http_gcs_status_need(ngx_http_gcs_main_conf_t *gmcf);
static ngx_shm_zone_t *ngx_http_gcs_status_old(void);
static ngx_int_t ngx_http_gcs_status_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static void ngx_http_gcs_status_rows(ngx_http_gcs_status_t *status,
    ngx_http_gcs_main_conf_t *gmcf);
static void ngx_http_gcs_status_buckets(ngx_http_gcs_status_t *status,
    ngx_http_gcs_status_location_t *location);


static ngx_str_t  ngx_http_gcs_status_zone_name =
    ngx_string("gcs_proxy_status");


/* "gcs_status [json | prometheus] [public]" */

char *
ngx_http_gcs_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gcs_loc_conf_t *glcf = conf;

    ngx_str_t                   *value;
    ngx_uint_t                   i;
    ngx_http_gcs_status_t       *status;
    ngx_http_gcs_status_page_t  *page;

    if (glcf->status_page) {
        return "is duplicate";
    }

    page = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_status_page_t));
    status = ngx_http_gcs_status_get(cf);

    if (page == NULL || status == NULL) {
        return NGX_CONF_ERROR;
    }

    status->wanted = 1;

    glcf->status_page = page;
    glcf->file = &cf->conf_file->file.name;
    glcf->line = cf->conf_file->line;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "json") == 0 && page->format == 0) {
            page->format = NGX_HTTP_GCS_STATUS_JSON;

        } else if (ngx_strcmp(value[i].data, "prometheus") == 0
                   && page->format == 0)
        {
            page->format = NGX_HTTP_GCS_STATUS_PROMETHEUS;

        } else if (ngx_strcmp(value[i].data, "public") == 0
                   && !page->everyone)
        {
            page->everyone = 1;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\" in \"%V\" directive; it "
                               "must be \"[json | prometheus] [public]\"",
                               &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static ngx_http_gcs_status_t *
ngx_http_gcs_status_get(ngx_conf_t *cf)
{
    ngx_http_gcs_status_t     *status;
    ngx_http_gcs_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gcs_proxy_module);

    if (gmcf->status) {
        return gmcf->status;
    }

    status = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_status_t));
    if (status == NULL) {
        return NULL;
    }

    if (ngx_array_init(&status->locations, cf->pool, 4,
                       sizeof(ngx_http_gcs_status_location_t *))
        != NGX_OK)
    {
        return NULL;
    }

    gmcf->status = status;

    return status;
}


char *
ngx_http_gcs_status_merge(ngx_conf_t *cf, ngx_http_gcs_loc_conf_t *prev,
    ngx_http_gcs_loc_conf_t *conf)
{
    ngx_http_gcs_status_t            *status;
    ngx_http_core_loc_conf_t         *clcf;
    ngx_http_gcs_status_location_t   *location, **slot;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->noname) {

        /* the hidden location of "if" or "limit_except" */

        if (conf->passing || conf->takeover) {
            conf->status = prev->status;
        }

        if (clcf->handler == NULL && prev->status_page) {
            conf->status_page = prev->status_page;
            clcf->handler = ngx_http_gcs_status_handler;
        }

        return NGX_CONF_OK;
    }

    if (conf->status_page) {

        if (conf->passing || clcf->handler) {
            return ngx_http_gcs_conf_error(cf, conf,
                       "\"gcs_status\" cannot be used in a location with "
                       "\"gcs_pass\" or another content handler");
        }

        clcf->handler = ngx_http_gcs_status_handler;
    }

    if (!conf->passing && conf->takeover == NULL) {
        return NGX_CONF_OK;
    }

    status = ngx_http_gcs_status_get(cf);
    if (status == NULL) {
        return NGX_CONF_ERROR;
    }

    location = ngx_pcalloc(cf->pool, sizeof(ngx_http_gcs_status_location_t));
    if (location == NULL) {
        return NGX_CONF_ERROR;
    }

    slot = ngx_array_push(&status->locations);
    if (slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = location;

    location->conf = conf;
    conf->status = location;

    if (conf->takeover) {
        conf->takeover->status = location;
    }

    return ngx_http_gcs_status_label(cf, location) == NGX_OK
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* its name as it is written, since "= /a" and "/a" are two */

static ngx_int_t
ngx_http_gcs_status_label(ngx_conf_t *cf,
    ngx_http_gcs_status_location_t *location)
{
    char                      *sign;
    ngx_str_t                  name;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_core_srv_conf_t  *cscf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    sign = clcf->exact_match ? "= " : clcf->noregex ? "^~ " : "";

#if (NGX_PCRE)
    if (clcf->regex) {
        sign = "~ ";
    }
#endif

    name.data = ngx_pnalloc(cf->temp_pool, 3 + clcf->name.len);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    name.len = ngx_sprintf(name.data, "%s%V", sign, &clcf->name) - name.data;

    location->name = ngx_gcs_metrics_clean(cf->pool, &name);
    location->server = ngx_gcs_metrics_clean(cf->pool, &cscf->server_name);

    return (location->name.data && location->server.data) ? NGX_OK
                                                          : NGX_ERROR;
}


ngx_int_t
ngx_http_gcs_status_init(ngx_conf_t *cf, ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_http_handler_pt        *h;
    ngx_http_gcs_status_t      *status;
    ngx_http_core_main_conf_t  *cmcf;

    status = gmcf->status;

    if (status == NULL || !status->wanted) {
        return NGX_OK;
    }

    status->shm_zone = ngx_shared_memory_add(cf,
                           &ngx_http_gcs_status_zone_name,
                           ngx_http_gcs_status_size(gmcf),
                           &ngx_http_gcs_proxy_module);
    if (status->shm_zone == NULL) {
        return NGX_ERROR;
    }

    status->shm_zone->init = ngx_http_gcs_status_zone_init;
    status->shm_zone->data = gmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_gcs_status_log_handler;

    return NGX_OK;
}


/*
 * Where the zone may stay it has the size that it had; nginx makes another one
 * when the size is another, be it by a page.
 */

static size_t
ngx_http_gcs_status_size(ngx_http_gcs_main_conf_t *gmcf)
{
    size_t                  size;
    ngx_uint_t              need, pages;
    ngx_shm_zone_t         *old;
    ngx_http_gcs_status_t  *status;

    status = gmcf->status;

    need = ngx_http_gcs_status_need(gmcf);
    status->nrows = ngx_gcs_metrics_rows(need);

    old = ngx_http_gcs_status_old();

    if (old) {
        status->from = ((ngx_slab_pool_t *) old->shm.addr)->data;
        status->nrows = ngx_max(status->nrows, status->from->nrows);

        /* rows of locations that have gone may have filled it */

        if (status->nrows == status->from->nrows
            && ngx_gcs_metrics_used(status->from) + need <= status->nrows)
        {
            return old->shm.size;
        }
    }

    size = ngx_gcs_metrics_size(status->nrows);

    /* and what the slab allocator needs for itself */

    pages = size / ngx_pagesize + 1;
    size = (pages + 8) * ngx_pagesize + pages * sizeof(ngx_slab_page_t);

    return (old && old->shm.size == size) ? size + ngx_pagesize : size;
}


/* rows at most: what a client can ask for has a limit */

static ngx_uint_t
ngx_http_gcs_status_need(ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_uint_t                        i, n;
    ngx_http_gcs_status_location_t  **location;

    location = gmcf->status->locations.elts;

    n = gmcf->identities.nelts;

    for (i = 0; i < gmcf->status->locations.nelts; i++) {
        n += 3;

        if (location[i]->conf->pass || location[i]->conf->api) {
            n += NGX_GCS_METRICS_BUCKETS;
        }
    }

    return n;
}


/*
 * The zone of the configuration before, if it is fit for use: while one is
 * read, ngx_cycle is still the old cycle.
 */

static ngx_shm_zone_t *
ngx_http_gcs_status_old(void)
{
    ngx_str_t                *name;
    ngx_uint_t                i;
    ngx_shm_zone_t           *zone;
    ngx_list_part_t          *part;
    ngx_gcs_metrics_table_t  *table;

    part = (ngx_list_part_t *) &ngx_cycle->shared_memory.part;
    zone = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            zone = part->elts;
            i = 0;
        }

        name = &zone[i].shm.name;

        if (name->len == ngx_http_gcs_status_zone_name.len
            && ngx_strncmp(name->data, ngx_http_gcs_status_zone_name.data,
                           name->len)
               == 0)
        {
            break;
        }
    }

    if (zone[i].shm.addr == NULL) {
        return NULL;
    }

    table = ((ngx_slab_pool_t *) zone[i].shm.addr)->data;

    return (table && ngx_gcs_metrics_check(table)) ? &zone[i] : NULL;
}


static ngx_int_t
ngx_http_gcs_status_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_slab_pool_t           *shpool;
    ngx_http_gcs_status_t     *status;
    ngx_http_gcs_main_conf_t  *gmcf;

    gmcf = shm_zone->data;
    status = gmcf->status;

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (data) {
        status->table = shpool->data;
        status->from = NULL;

    } else {
        status->table = ngx_slab_calloc(shpool,
                                        ngx_gcs_metrics_size(status->nrows));
        if (status->table == NULL) {
            return NGX_ERROR;
        }

        ngx_gcs_metrics_init(status->table, status->nrows);
        shpool->data = status->table;
    }

    ngx_http_gcs_status_rows(status, gmcf);

    /* it is gone soon */

    status->from = NULL;

    return NGX_OK;
}


/* all rows that are known by now, so that they are shown from the start */

static void
ngx_http_gcs_status_rows(ngx_http_gcs_status_t *status,
    ngx_http_gcs_main_conf_t *gmcf)
{
    ngx_uint_t                        i;
    ngx_gcs_metrics_row_t            *row;
    ngx_http_gcs_identity_t         **identity;
    ngx_http_gcs_status_location_t  **location;

    location = status->locations.elts;

    for (i = 0; i < status->locations.nelts; i++) {

        row = ngx_gcs_metrics_row(status->table, NGX_GCS_METRICS_LOCATION,
                                  &location[i]->server, &location[i]->name);

        location[i]->row = row;

        if (row && status->from) {
            ngx_gcs_metrics_inherit(status->table, row, status->from);
        }

        if (row && location[i]->conf->passing) {
            ngx_http_gcs_status_buckets(status, location[i]);
        }
    }

    identity = gmcf->identities.elts;

    for (i = 0; i < gmcf->identities.nelts; i++) {

        if (ngx_http_gcs_signs(identity[i]) == NGX_HTTP_GCS_SIGNS_NOT) {
            continue;
        }

        row = ngx_gcs_metrics_row(status->table, NGX_GCS_METRICS_CREDENTIALS,
                                  &identity[i]->name, NULL);

        identity[i]->metrics = row;

        if (row && status->from) {
            ngx_gcs_metrics_inherit(status->table, row, status->from);
        }
    }
}


static void
ngx_http_gcs_status_buckets(ngx_http_gcs_status_t *status,
    ngx_http_gcs_status_location_t *location)
{
    ngx_uint_t                i;
    ngx_gcs_object_t         *object;
    ngx_http_gcs_loc_conf_t  *conf;

    conf = location->conf;

    if (conf->pass == NULL && conf->api == NULL) {
        (void) ngx_gcs_metrics_bucket(status->table, location->row,
                                      &conf->target.bucket);
        return;
    }

    object = conf->buckets ? conf->buckets->elts : NULL;

    for (i = 0; object && i < conf->buckets->nelts; i++) {
        (void) ngx_gcs_metrics_bucket(status->table, location->row,
                                      &object[i].bucket);
    }
}

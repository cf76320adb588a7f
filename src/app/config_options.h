/* The table of conf.def: the rows, and their numbers. */
#ifndef APP_CONFIG_OPTIONS_H
#define APP_CONFIG_OPTIONS_H

#include "sys/conf.h"

enum option {
#define OPTION(id, ...) OPT_##id,
#include "app/conf.def"
    OPTIONS
};

extern const struct conf_option conf_options[OPTIONS];

#endif
